"""The training commands.

python -m vitjax.train finetune MODEL FOLDER -o DIR    fine-tunes a model on a folder with one sub-folder per class
python -m vitjax.train scenes -o runs/scenes           trains the bundled model from random weights
python -m vitjax.train evaluate                        scores the bundled model on 10,000 unseen scenes
"""

from vitjax.cli.train import main

main()
