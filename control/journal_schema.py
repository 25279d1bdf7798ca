"""The journal's tables, and what brings an older journal to them."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE volumes (
  name TEXT PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
  chunk INTEGER NOT NULL, state TEXT NOT NULL, bottom INTEGER NOT NULL) STRICT;
CREATE TABLE spans (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, position INTEGER NOT NULL,
  path TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  PRIMARY KEY (volume, position)) STRICT;
CREATE TABLE layers (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, sequence INTEGER NOT NULL,
  object_name TEXT NOT NULL, chunk INTEGER NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (volume, sequence)) STRICT;
CREATE TABLE generations (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  uuid TEXT NOT NULL UNIQUE, parent_uuid TEXT NOT NULL, frozen_at REAL, pause_us INTEGER NOT NULL,
  PRIMARY KEY (volume, number)) STRICT;
CREATE TABLE mirrors (
  name TEXT PRIMARY KEY, volume TEXT NOT NULL REFERENCES volumes(name), peer TEXT NOT NULL,
  replica_volume TEXT NOT NULL, state TEXT NOT NULL, interval_ms INTEGER NOT NULL,
  rate_bytes INTEGER NOT NULL, on_demand INTEGER NOT NULL, plaintext INTEGER NOT NULL,
  verify INTEGER NOT NULL, committed_uuid TEXT NOT NULL, committed_number INTEGER NOT NULL,
  committed_frozen_at REAL NOT NULL, lacking BLOB NOT NULL, lacking_all INTEGER NOT NULL) STRICT;
CREATE TABLE cycles (
  mirror TEXT NOT NULL REFERENCES mirrors(name) ON DELETE CASCADE, generation_uuid TEXT NOT NULL,
  generation_number INTEGER NOT NULL, frozen_at REAL NOT NULL, kind TEXT NOT NULL,
  state TEXT NOT NULL, pause_us INTEGER NOT NULL, chunks INTEGER NOT NULL,
  changed_bytes INTEGER NOT NULL, sent_bytes INTEGER NOT NULL, payload_bytes INTEGER NOT NULL,
  copy_seconds REAL NOT NULL, committed_at REAL NOT NULL, verified TEXT NOT NULL,
  resumed INTEGER NOT NULL, PRIMARY KEY (mirror, generation_uuid)) STRICT;
CREATE TABLE checkpoints (
  mirror TEXT PRIMARY KEY REFERENCES mirrors(name) ON DELETE CASCADE,
  generation_uuid TEXT NOT NULL, ordinal INTEGER NOT NULL, position INTEGER NOT NULL,
  digest BLOB NOT NULL) STRICT;
"""

TRACES = """
CREATE TABLE traces (
  volume TEXT NOT NULL, sequence INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL,
  epoch TEXT NOT NULL, number INTEGER NOT NULL, since REAL NOT NULL, blocks BLOB NOT NULL,
  counters TEXT NOT NULL, PRIMARY KEY (volume, sequence),
  FOREIGN KEY (volume, sequence) REFERENCES layers(volume, sequence) ON DELETE CASCADE) STRICT;
"""

GROUPS = """
CREATE TABLE groups (
  name TEXT PRIMARY KEY, implicit INTEGER NOT NULL, consistency TEXT NOT NULL,
  policy TEXT NOT NULL, quorum INTEGER NOT NULL, before TEXT NOT NULL, before_ms INTEGER NOT NULL,
  after TEXT NOT NULL, after_ms INTEGER NOT NULL, fencing TEXT NOT NULL) STRICT;
CREATE TABLE members (
  volume TEXT PRIMARY KEY REFERENCES volumes(name) ON DELETE CASCADE,
  group_name TEXT NOT NULL REFERENCES groups(name)) STRICT;
INSERT INTO groups SELECT name, 1, '', 'lockstep', 0, '[]', 0, '[]', 0, 'off' FROM volumes;
INSERT INTO members SELECT name, name FROM volumes;
CREATE TABLE standings (
  mirror TEXT NOT NULL REFERENCES mirrors(name) ON DELETE CASCADE,
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE,
  committed_uuid TEXT NOT NULL, committed_number INTEGER NOT NULL,
  committed_layer INTEGER NOT NULL, committed_frozen_at REAL NOT NULL,
  lacking BLOB NOT NULL, lacking_all INTEGER NOT NULL, PRIMARY KEY (mirror, volume)) STRICT;
INSERT INTO standings SELECT name, volume, committed_uuid, committed_number,
  committed_number - 1, committed_frozen_at, lacking, lacking_all FROM mirrors;
CREATE TABLE new_mirrors (
  name TEXT PRIMARY KEY, group_name TEXT NOT NULL REFERENCES groups(name), peer TEXT NOT NULL,
  replica_volume TEXT NOT NULL, state TEXT NOT NULL, interval_ms INTEGER NOT NULL,
  rate_bytes INTEGER NOT NULL, on_demand INTEGER NOT NULL, plaintext INTEGER NOT NULL,
  verify INTEGER NOT NULL, schedule TEXT NOT NULL, rpo_ms INTEGER NOT NULL,
  window TEXT NOT NULL) STRICT;
INSERT INTO new_mirrors SELECT name, volume, peer, replica_volume, state, interval_ms,
  rate_bytes, on_demand, plaintext, verify, '', 0, '' FROM mirrors;
DROP TABLE mirrors;
ALTER TABLE new_mirrors RENAME TO mirrors;
CREATE TABLE new_generations (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  uuid TEXT NOT NULL, parent_uuid TEXT NOT NULL, frozen_at REAL, layer INTEGER NOT NULL,
  members INTEGER NOT NULL, pause_us INTEGER NOT NULL,
  PRIMARY KEY (volume, number), UNIQUE (volume, uuid)) STRICT;
INSERT INTO new_generations SELECT volume, number, uuid, parent_uuid, frozen_at, number - 1, 1,
  pause_us FROM generations;
DROP TABLE generations;
ALTER TABLE new_generations RENAME TO generations;
DROP TABLE checkpoints;
CREATE TABLE checkpoints (
  mirror TEXT NOT NULL REFERENCES mirrors(name) ON DELETE CASCADE, volume TEXT NOT NULL,
  generation_uuid TEXT NOT NULL, ordinal INTEGER NOT NULL, position INTEGER NOT NULL,
  digest BLOB NOT NULL, PRIMARY KEY (mirror, volume)) STRICT;
ALTER TABLE layers ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE layers SET size = (SELECT size FROM volumes WHERE name = layers.volume);
ALTER TABLE volumes ADD COLUMN fenced TEXT NOT NULL DEFAULT '';
"""

CASCADE = """
CREATE TABLE new_mirrors (
  name TEXT PRIMARY KEY, group_name TEXT NOT NULL, peer TEXT NOT NULL,
  replica_volume TEXT NOT NULL, state TEXT NOT NULL, interval_ms INTEGER NOT NULL,
  rate_bytes INTEGER NOT NULL, on_demand INTEGER NOT NULL, plaintext INTEGER NOT NULL,
  verify INTEGER NOT NULL, schedule TEXT NOT NULL, rpo_ms INTEGER NOT NULL,
  window TEXT NOT NULL, origin TEXT NOT NULL) STRICT;
INSERT INTO new_mirrors SELECT *, 'group' FROM mirrors;
DROP TABLE mirrors;
ALTER TABLE new_mirrors RENAME TO mirrors;
CREATE TABLE new_standings (
  mirror TEXT NOT NULL REFERENCES mirrors(name) ON DELETE CASCADE, volume TEXT NOT NULL,
  committed_uuid TEXT NOT NULL, committed_number INTEGER NOT NULL,
  committed_layer INTEGER NOT NULL, committed_frozen_at REAL NOT NULL,
  lacking BLOB NOT NULL, lacking_all INTEGER NOT NULL, base TEXT NOT NULL,
  PRIMARY KEY (mirror, volume)) STRICT;
INSERT INTO new_standings SELECT *, '' FROM standings;
DROP TABLE standings;
ALTER TABLE new_standings RENAME TO standings;
"""

ASKED = "ALTER TABLE standings ADD COLUMN asked_whole INTEGER NOT NULL DEFAULT 0;\n"

STEPS = {1: SCHEMA, 2: TRACES, 3: GROUPS, 4: CASCADE, 5: ASKED}
"""What brings a journal from the version before to each version."""

SCHEMA_VERSION = max(STEPS)
