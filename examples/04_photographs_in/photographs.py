"""Copies the two photographs that come with scikit-learn: python photographs.py FOLDER"""

import shutil
import sys
from pathlib import Path

import sklearn.datasets

folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
for photograph in Path(sklearn.datasets.__file__).parent.glob("images/*.jpg"):
    shutil.copy(photograph, folder)
