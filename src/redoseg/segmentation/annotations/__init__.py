"""Masks in the forms of other tools: COCO, labelme, YOLO."""
