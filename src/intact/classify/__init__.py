"""Classifiers: what protection is tried against, and what made images are to help."""

from intact.classify.classifier import Classifier, View
from intact.classify.learn import Card, Learned, learn, load
from intact.classify.networks import NETWORKS

__all__ = ["NETWORKS", "Card", "Classifier", "Learned", "View", "learn", "load"]
