"""What the WFM wants to run here: bundles opened, and a verified copy on disk. margod installs nothing itself."""
