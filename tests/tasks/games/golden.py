"""The first prompts of a seed: others would be a new version of the id."""

GOLDEN_INFILL = [
    '### PRE:(game "Connect-Six" (players 2) (equipment (board (square 19)) (pieces ("token" both))) '
    "### SUF: )### MID:",
    '### PRE:(game "Pente" (players 2) (equipment (board (square 19)) (pieces ("token" both))) (rules (play '
    '(once_through (P1) (place "token" (destination (center)))) (repeat (P2 P1) ### SUF: )) (end (if (line "token" 5) '
    "(mover win)) (if (>= (score mover) 10) (mover win)))))### MID:",
]
GOLDEN_WRITE = [
    '### GAME:"Glade Valley" (board (hexagon 9))### TEXT:',
    '### GAME:"Iron Harbour" (board (square 3))### TEXT:',
    '### GAME:"Connect-Six" (board (square 19))### TEXT:',
]
