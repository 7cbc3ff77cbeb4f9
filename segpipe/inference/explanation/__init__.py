"""What in the scan a network's answer rests on."""
