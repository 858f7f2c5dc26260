"""Writing answers in this process: many cases at once, each as it would be alone."""
