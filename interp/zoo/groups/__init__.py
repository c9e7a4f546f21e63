"""Networks that multiply in a finite group, and quadratic ones of largest margin."""
