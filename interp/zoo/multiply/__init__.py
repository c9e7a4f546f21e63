"""``multiply-2x2``: a small transformer that multiplies digit by digit, and how it is trained."""
