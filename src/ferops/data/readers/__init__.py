"""Readers: every layout of FER2013, the test sets CK+ and JAFFE, and single image files, as gray 48 x 48 faces."""
