"""The tables of ``state.db``: one entry per format, applied in order, never changed once released.

``PRAGMA user_version`` counts the entries that a file has seen.
"""

APPLICATION_ID = 0x6D657368
"""``mesh`` in ASCII: marks a SQLite file as ours."""

_FIRST = (
    "CREATE TABLE revision (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL) STRICT",
    "INSERT INTO revision VALUES (1, 0)",
    # `version` is the token of the compare-and-swap; `run` names the present run, whose value is in `runs` only.
    """
    CREATE TABLE releases (
        name        TEXT PRIMARY KEY,
        wish        TEXT NOT NULL,
        state       TEXT NOT NULL,
        run         TEXT REFERENCES runs (name) DEFERRABLE INITIALLY DEFERRED,
        judge_state TEXT NOT NULL,
        cursor      TEXT NOT NULL,
        version     INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE TABLE workloads (name TEXT PRIMARY KEY, wish TEXT NOT NULL) STRICT",
    """
    CREATE TABLE requests (
        number  INTEGER PRIMARY KEY,
        release TEXT NOT NULL REFERENCES releases (name) ON DELETE CASCADE,
        id      TEXT NOT NULL,
        body    TEXT NOT NULL,
        UNIQUE (release, id)
    ) STRICT
    """,
    # `decisions` and `head` are the end of the chain; the first `sealed` blocks are named by a decision.
    """
    CREATE TABLE runs (
        name      TEXT PRIMARY KEY,
        release   TEXT NOT NULL REFERENCES releases (name) ON DELETE CASCADE,
        number    INTEGER NOT NULL,
        body      TEXT NOT NULL,
        decisions INTEGER NOT NULL DEFAULT 0,
        head      TEXT NOT NULL DEFAULT '',
        sealed    INTEGER NOT NULL DEFAULT 0,
        UNIQUE (release, number)
    ) STRICT
    """,
    """
    CREATE TABLE decisions (
        run    TEXT NOT NULL REFERENCES runs (name) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        hash   TEXT NOT NULL,
        body   TEXT NOT NULL,
        PRIMARY KEY (run, number)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE blocks (
        run    TEXT NOT NULL REFERENCES runs (name) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        body   TEXT NOT NULL,
        PRIMARY KEY (run, number)
    ) STRICT, WITHOUT ROWID
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
