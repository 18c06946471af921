"""python -m vitjax.train scenes -o runs/scenes    the bundled checkpoint, from nothing
python -m vitjax.train evaluate                what it can do on 10,000 unseen scenes
"""

from vitjax.train.scenes import main

main()
