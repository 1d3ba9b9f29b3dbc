"""Two people who talk, and questions about what they said: written for these tests, and small enough to read."""

from __future__ import annotations

SESSIONS: list[tuple[str, list[str]]] = [
    ("2024-03-02", [
        "Mira: I finally signed up for the sailing school in Kiel!",
        "Tom: Great! When does it start?",
        "Mira: In two weeks, every Saturday morning.",
        "Tom: My brother Leo would love that. He grew up on a lake.",
        "Mira: How many lessons does one need?",
        "Tom: He took about twelve before the exam.",
        "Mira: By the way, my knee is much better since the operation.",
        "Tom: Glad to hear it. I am still looking for a flat.",
    ]),
    ("2024-05-18", [
        "Tom: I found a place to live! Third floor, with a balcony.",
        "Mira: Wonderful, in which part of town?",
        "Tom: Right behind the old market hall.",
        "Mira: Is it loud there?",
        "Tom: Only when the vegetable sellers come on Thursdays.",
        "Mira: I passed the exam yesterday, first try.",
        "Tom: Congratulations, captain! What will you do with it?",
        "Mira: Rent a boat with Ines and go to Denmark.",
    ]),
    ("2024-07-30", [
        "Mira: Denmark was cold but beautiful, we saw porpoises.",
        "Tom: Which animals did you like best?",
        "Mira: The seals on the sandbank, eleven of them.",
        "Tom: I adopted a cat last month, she is called Pepper.",
        "Mira: Is she friendly with visitors?",
        "Tom: She hides under the sofa until they leave.",
        "Mira: Ines broke her arm on the last day, sadly.",
        "Tom: Oh no. Does she get help at home?",
        "Mira: Her mother came over from Bremen.",
    ]),
    ("2024-10-11", [
        "Tom: I started a new job at the hospital kitchen.",
        "Mira: What do you do there exactly?",
        "Tom: Menus for patients with allergies, mostly.",
        "Mira: I sold my car and bought a cargo bike.",
        "Tom: Do you miss it in the rain?",
        "Mira: Not once. The dog rides in front and barks at buses.",
        "Tom: Pepper got ill, the vet says it is her kidneys.",
        "Mira: Poor thing. What may she eat now?",
        "Tom: Special food only, twice a day.",
    ]),
]  # fmt: skip
QUESTIONS = {
    "When did Mira pass the exam?": "1:5",
    "How many lessons did Leo take before the exam?": "0:5",
    "When do Mira's lessons at the sailing school start?": "0:2",
    "Where is Tom's new flat?": "1:2",
    "What did Mira see in May?": "1:5",
    "Which animals did Mira like best in Denmark?": "2:2",
    "What is the name of Tom's cat?": "2:3",
    "Who helps Ines at home with her broken arm?": "2:8",
    "What does Tom do at the hospital?": "3:2",
    "Does Mira miss her car in the rain?": "3:5",
    "What may Pepper eat?": "3:8",
    "How does the cat behave with visitors?": "2:5",
    "What happened to Tom in October?": "3:0",
    "Is it loud where Tom lives?": "1:4",
}
