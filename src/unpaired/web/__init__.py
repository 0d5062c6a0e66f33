"""What the servers share: the listening socket, bounded connections, security headers, and the stop."""
