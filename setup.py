"""Install Prelim: the connectors and the plugin without torch, the model and its training as extras."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ["plugin", "connectors", "model", "training", "migrations"]

# What the listeners and the web need. Nothing here may pull in torch.
BASE = [
    "alembic>=1.20,<2",
    "click>=8.2,<9",
    "cryptography>=46",
    "dbos>=3.4,<4",
    "dicomweb-client>=0.61,<0.62",
    "fhir.resources>=8.3,<9",
    "flask>=3.1,<4",
    "fontpkg-noto-sans>=2.15,<3",
    "fonttools>=4.60,<5",
    "fpdf2>=2.8.9,<3",
    "hl7apy>=1.3.5,<2",
    "httpx>=0.28,<0.29",
    "joserfc>=1.8,<2",
    "numpy>=2.2,<3",
    "pillow>=12",
    "pydicom>=3.0.2,<4",
    "pylibjpeg>=2.1,<3",
    "pylibjpeg-libjpeg>=2.3,<3",
    "pylibjpeg-openjpeg>=2.5,<3",
    "pylopdf-fonts-ko>=0.1.1,<0.2",
    "sqlalchemy>=2.1,<2.2",
    "waitress>=3.0.2,<4",
    "websockets>=17,<18",
]
# torch and torchvision are released as a pair: one without the other fails at import.
MODEL = [
    "accelerate>=1.15,<2",
    "bitsandbytes>=0.50,<0.51",
    "peft>=0.21,<0.22",
    "safetensors>=0.6",
    "timm>=1.0.31,<2",
    "tokenizers>=0.22",
    "torch==2.13.0",
    "torchvision==0.28.0",
    "transformers>=5.23,<6",
    "xgrammar>=0.2.8,<0.3",
]
POSTGRES = ["psycopg[binary]>=3.3,<4"]
# The peers of the benchmarks that are Python (dicomweb-client and hl7apy are in BASE).
BENCH = ["hl7>=0.4.5,<0.5", *POSTGRES]
TEST = ["hypothesis>=6.170", "pytest>=9.2,<10", "pytest-timeout>=2.4", *POSTGRES]
DEVELOP = ["mypy>=2.4,<3", "ruff>=0.17,<0.18", "yamllint>=1.37", *TEST]

setup(
    name="prelim",
    version="0.1.0",
    description="Drafts radiology reports for a radiologist to sign; never signs one.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[name for top in PACKAGES for name in (top, f"{top}.*")]),
    include_package_data=True,
    package_data={
        "plugin.web": ["templates/*.html", "static/*"],
        "connectors.sandbox": ["studies/*"],
        "model": ["weights/**/*"],
        "model.structured": ["templates/*.html"],
        "migrations": ["alembic.ini", "script.py.mako"],
    },
    install_requires=BASE,
    extras_require={
        "model": MODEL,
        "training": MODEL,
        "postgres": POSTGRES,
        "bench": [*MODEL, *BENCH],
        "test": [*MODEL, *TEST],
        "develop": [*MODEL, *DEVELOP],
    },
    entry_points={
        "console_scripts": ["prelim = plugin.cli:main"],
        # The plugin may not import training: it finds these commands by name when it is installed.
        "prelim.commands": [
            "train = training.cli:train",
            "data = training.cli:data",
            "evaluate = training.cli:evaluate",
        ],
    },
)
