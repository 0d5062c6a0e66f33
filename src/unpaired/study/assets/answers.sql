-- The answers of a study; `STUDY/answers.sqlite`.
CREATE TABLE IF NOT EXISTS participants (
    id INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE, external TEXT UNIQUE, method TEXT NOT NULL,
    joined REAL NOT NULL, seen REAL NOT NULL, finished REAL, code TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    participant INTEGER NOT NULL REFERENCES participants(id), number INTEGER NOT NULL, kind TEXT NOT NULL,
    real TEXT NOT NULL, fake TEXT NOT NULL, real_side INTEGER NOT NULL CHECK (real_side IN (0, 1)),
    token TEXT UNIQUE, served REAL, fetched REAL, views INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (participant, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    participant INTEGER NOT NULL, number INTEGER NOT NULL, side INTEGER NOT NULL CHECK (side IN (0, 1)),
    exposure_first REAL NOT NULL, exposure_second REAL NOT NULL, frames INTEGER NOT NULL, hidden INTEGER NOT NULL,
    response REAL NOT NULL, waited REAL NOT NULL, input TEXT NOT NULL, answered REAL NOT NULL,
    PRIMARY KEY (participant, number), FOREIGN KEY (participant, number) REFERENCES trials(participant, number))
    WITHOUT ROWID;
PRAGMA user_version = 1;
