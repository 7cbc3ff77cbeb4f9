"""What files, processes and tables have in common, whatever they are about."""
