"""A perceptual study: people see a real and a generated picture for a second and say which was real.

`create` makes a study's folder, `serve` shows it to people, `report` says what they saw. The server keeps the truth;
the browser receives nothing that tells real from generated but the pixels themselves.
"""
