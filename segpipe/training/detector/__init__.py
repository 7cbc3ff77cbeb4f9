"""The second stage of a detector: learnt on candidates of training scans, chosen on those of validation scans."""
