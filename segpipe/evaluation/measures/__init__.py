"""What two masks of a case share: voxels, volumes and surfaces."""
