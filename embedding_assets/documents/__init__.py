"""Files → documents: text, Markdown, JSONL, CSV, Parquet. The bad is rejected by file and line, the rest goes on."""
