"""What every room uses: errors, settings, device, files, text. It knows nothing of images."""
