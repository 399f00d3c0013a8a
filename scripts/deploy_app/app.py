"""A MONAI Deploy application around the bundle: one slide in, one file of embeddings out. See docs/deploy.md.

python scripts/deploy_app/app.py --input SLIDE --output FOLDER --model models
"""

import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE if (HERE / "bundle").is_dir() else HERE.parents[1]))  # in a container bundle/ lies beside

from bundle.serving.deploy_app import SlideEmbeddingApp  # noqa: E402

if __name__ == "__main__":
    knobs = yaml.safe_load((HERE / "app.yaml").read_text())
    SlideEmbeddingApp(reading=knobs["reading"], encoding=knobs["encoding"]).run()
