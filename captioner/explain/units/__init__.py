"""What the hidden units of a character model learn (Karpathy, Johnson, Fei-Fei 2015).

    recording      every number of the state after every character of a text
    hypotheses     what a unit might stand for, computed from the text itself
    ranking        which unit fits a hypothesis, chosen on one half of a text, scored on the other
    intervention   a unit held at a value: what the model then believes
    pages, strips  the text in the colours of a unit

Units are called ``c1.37``: the part of the state (``c``: a cell state, ``h``: what others read),
the layer from 1, and the place in it from 0.
"""
