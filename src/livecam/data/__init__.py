"""Data modules."""

from livecam.data.annotated import AnnotatedPhotos
from livecam.data.coco.datamodule import Coco
from livecam.data.dogs_vs_wolves import DogsVsWolves
from livecam.data.folder import ImageFolderData
from livecam.data.imagenet.datamodule import ImageNet
from livecam.data.pets import OxfordPets
from livecam.data.planted import PlantedShapesData

__all__ = ["AnnotatedPhotos", "Coco", "DogsVsWolves", "ImageFolderData", "ImageNet", "OxfordPets", "PlantedShapesData"]
