"""Home energy manager: plans the day, offers, answers the real-time price. Pure: no I/O, clock or randomness.

``model`` holds the types, ``program`` the linear programme, ``plan`` what a home offers and commits to,
``baseline`` the plan without a market, ``bounds`` how far the devices can move in a slot and ``respond`` the
best response to the real-time price.
"""
