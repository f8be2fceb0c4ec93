"""All that speaks SQL: the embedded server, connections, migrations, and one module for each table or index."""
