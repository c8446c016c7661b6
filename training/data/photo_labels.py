"""From captions to labels: which things and actions the words of a photo's captions name.

A table of names with the words that mean them, and a few rules for endings; no lexicon. A word can
mean several labels: a surfer is a person, and surfs. The names are what at least two captions of
about 40 or more of Flickr8k's training photos say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np

# name: words that mean it, in their plain form, beside the name's own.
THINGS = {
    "animal": "dog cat horse bird cow sheep puppy goat duck elephant monkey",
    "baby": "infant toddler newborn",
    "backpack": "rucksack",
    "bag": "purse handbag suitcase luggage",
    "ball": "soccerball basketball football baseball softball volleyball",
    "baseball": "softball pitcher umpire batter",
    "basketball": "",
    "beach": "shore shoreline seashore seaside",
    "bed": "couch sofa pillow mattress",
    "bench": "",
    "bicycle": "bike biker cyclist bicyclist bmx bicycler",
    "bird": "duck seagull goose geese pigeon swan flamingo parrot",
    "boat": "canoe kayak raft sailboat ship kayaker rower",
    "boy": "",
    "building": "house store skyscraper barn church storefront",
    "child": "boy girl kid children toddler baby infant",
    "city": "urban downtown town",
    "cliff": "",
    "crowd": "audience spectator onlooker crowded",
    "dirt": "",
    "dog": "puppy greyhound poodle labrador retriever terrier dalmatian collie husky dachshund"
    " rottweiler bulldog beagle spaniel",
    "dress": "skirt gown",
    "drink": "beer bottle cup beverage soda wine",
    "fence": "fenced",
    "field": "meadow pasture",
    "football": "quarterback",
    "forest": "woods wooded woodland jungle",
    "fountain": "sprinkler",
    "frisbee": "disc frizbee",
    "girl": "",
    "glasses": "sunglasses goggles eyeglasses",
    "grass": "grassy lawn",
    "hat": "cap beanie",
    "helmet": "",
    "hill": "slope hillside downhill",
    "horse": "pony rodeo bronco",
    "hurdle": "obstacle",
    "ice": "icy",
    "instrument": "guitar drum violin accordion guitarist musician piano band",
    "jacket": "coat parka",
    "lake": "pond",
    "man": "men guy gentleman gentlemen male",
    "motorcycle": "motorbike motorcyclist motocross motorcross dirtbike",
    "mountain": "mountainside mountaintop",
    "mouth": "tongue teeth",
    "mud": "muddy",
    "ocean": "sea",
    "pants": "jeans trousers",
    "park": "",
    "path": "trail",
    "person": "people man men woman women boy girl child children kid guy lady baby toddler infant"
    " adult player someone couple crowd male female skateboarder biker cyclist surfer skier"
    " snowboarder climber hiker swimmer rider dancer teenager gentleman gentlemen bicyclist"
    " motorcyclist friend mother father worker",
    "pool": "",
    "ramp": "",
    "rail": "railing",
    "river": "stream creek",
    "road": "street highway pavement intersection",
    "rock": "boulder stone rocky",
    "room": "indoors floor kitchen inside hallway carpet",
    "rope": "",
    "sand": "sandy",
    "shirt": "t-shirt tshirt shirts blouse",
    "shorts": "",
    "sidewalk": "",
    "sign": "banner poster",
    "skateboard": "skateboarder",
    "snow": "snowy snow-covered",
    "snowboard": "snowboarder",
    "soccer": "",
    "stairs": "staircase step steps stairway",
    "stick": "branch",
    "surfboard": "surfer",
    "swimsuit": "bikini bathing trunks",
    "table": "desk counter picnic",
    "tennis": "racket racquet",
    "toy": "doll",
    "track": "racetrack",
    "tree": "",
    "uniform": "jersey",
    "vehicle": "car truck van bus jeep suv",
    "wall": "",
    "water": "ocean lake river pool pond sea stream wave creek",
    "wave": "surf",
    "woman": "women lady female",
    "yard": "backyard garden",
}
ACTIONS = {
    "biting": "bite chew",
    "carrying": "carry",
    "catching": "catch caught",
    "chasing": "chase pursue",
    "climbing": "climb climber scale",
    "cycling": "biker cyclist bicyclist",
    "dancing": "dance dancer",
    "eating": "eat",
    "fighting": "fight wrestle boxer tackle",
    "flying": "fly flies",
    "hiking": "hike hiker",
    "holding": "hold held",
    "hugging": "hug embrace kiss",
    "jumping": "jump leap midair mid-air airborne",
    "kicking": "kick",
    "laughing": "laugh smile grin",
    "looking": "look watch stare gaze",
    "lying": "lie lay sleep rest laid nap",
    "performing": "perform trick stunt",
    "playing": "play",
    "posing": "pose",
    "racing": "race racer",
    "riding": "ride rider rode",
    "running": "run ran sprint jog",
    "sitting": "sit sat seated",
    "skateboarding": "skateboarder skateboard skate",
    "skiing": "ski skier",
    "sliding": "slide slid sled sledding",
    "snowboarding": "snowboarder snowboard",
    "splashing": "splash spray",
    "standing": "stand stood",
    "surfing": "surf surfer surfboard",
    "swimming": "swim swam swimmer",
    "swinging": "swing",
    "talking": "talk speak converse chat conversation",
    "throwing": "throw toss threw",
    "walking": "walk stroll",
}
LABELS = {**THINGS, **ACTIONS}
# Words whose ending would mislead the rules.
_MISLEADING = frozenset(
    ["building", "dressed", "dressing", "parked", "parking", "sticking", "waved", "waving"]
)
_VOWELS = "aeiou"


def plain_forms(word: str) -> Iterator[str]:
    """The word, and what it may be an inflection of: ``running`` gives running, runn, run, runne.

    By ending alone: -s, -es, -ies, -ing and -ed, a doubled consonant made single, a final e
    restored. What is no word means no label.
    """
    yield word
    if word in _MISLEADING:
        return
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1:
            yield stem
            yield stem + "e"
            if stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
                yield stem[:-1]


@cache
def labels_of(word: str) -> frozenset[str]:
    """The labels that a word of a caption means, most often none."""
    meanings = _meanings()
    for form in plain_forms(word):
        if form in meanings:
            return meanings[form]
    return frozenset()


def caption_shares(captions: Iterable[Sequence[Sequence[str]]], names: Sequence[str]) -> np.ndarray:
    """The share of each photo's captions that name each label: ``(photos, names)`` float32.

    ``captions``: for each photo its captions, each cut into words.
    """
    number = {name: place for place, name in enumerate(names)}
    rows = []
    for photo in captions:
        row = np.zeros(len(names), np.float32)
        for caption in photo:
            found = {label for word in caption for label in labels_of(word)}
            for label in found & number.keys():
                row[number[label]] += 1 / len(photo)
        rows.append(row)
    return np.stack(rows) if rows else np.zeros((0, len(names)), np.float32)


@cache
def _meanings() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, words in LABELS.items():
        for word in (name, *words.split()):
            found.setdefault(word, set()).add(name)
    return {word: frozenset(labels) for word, labels in found.items()}
