"""The training commands.

python -m vitjax.train scenes -o runs/scenes    trains the bundled model from random weights
python -m vitjax.train evaluate                 scores the bundled model on 10,000 unseen scenes
"""

from vitjax.train.scenes import main

main()
