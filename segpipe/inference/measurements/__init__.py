"""What is measured of a finding besides its size: attenuation, place, and whether the slices allow it."""
