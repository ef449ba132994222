"""Every surface over every vendor dialect, with the surface's official SDK, before the strict sandbox."""
