"""What tests share: networks, data, processes."""
