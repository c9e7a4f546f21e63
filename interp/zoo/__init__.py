"""Tasks with known answers, the models made for them, their cards and how to make them again.

``tasks`` makes examples, ``induction_exact`` and ``code_lm`` make models, ``recipes`` says how to
call them, ``cards`` reads what is known about the bundled ones. Nothing is imported here, so that
listing models stays instant: import the module you want.
"""
