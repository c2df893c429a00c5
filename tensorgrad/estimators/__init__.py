"""Estimators for scikit-learn: networks that fit into a Pipeline, a GridSearchCV and a cross-validation."""

from tensorgrad.estimators.classifier import *
from tensorgrad.estimators.regressor import *
