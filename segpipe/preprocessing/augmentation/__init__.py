"""What training patches go through."""
