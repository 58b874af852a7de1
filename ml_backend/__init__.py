"""weakhar: label hours of synchronised video and IMU from a few minutes of human work."""
