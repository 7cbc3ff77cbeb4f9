"""How well masks agree, voxel by voxel, surface by surface and lesion by lesion."""
