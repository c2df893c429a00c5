"""The command ``tensorgrad``: train, evaluate and use networks for images, draw them, check the ops."""

from tensorgrad.cli.command import *
