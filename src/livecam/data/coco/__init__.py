"""COCO's instances as multi-label images with masks."""
