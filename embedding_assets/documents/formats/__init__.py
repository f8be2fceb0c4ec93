"""One reader for each kind of file; what a file holds comes as documents and rejections."""
