"""SQL that would change data, or reach beyond them: for SQLite and for duckdb."""

from __future__ import annotations

__all__ = ["DUCKDB", "SQLITE"]

_BOTH = """
INSERT INTO sales VALUES ('x', 1, 1)
INSERT INTO sales SELECT * FROM sales
UPDATE sales SET euros = 0
DELETE FROM sales
DROP TABLE sales
DROP TABLE IF EXISTS sales
CREATE TABLE t (x INTEGER)
CREATE TABLE t AS SELECT * FROM sales
CREATE TEMP TABLE t (x INTEGER)
CREATE TEMP VIEW v AS SELECT 1
CREATE VIEW v AS SELECT * FROM sales
CREATE INDEX i ON sales (euros)
ALTER TABLE sales ADD COLUMN x INTEGER
ALTER TABLE sales RENAME TO other
BEGIN
COMMIT
ROLLBACK
VACUUM
VACUUM INTO '{folder}/copy.db'
ATTACH '{folder}/other.db' AS other
ATTACH ':memory:' AS other
DETACH main
SELECT 1; DELETE FROM sales
SELECT 1; SELECT 2
DELETE FROM sales; SELECT 1
COMMIT; DELETE FROM sales
; DELETE FROM sales
/* SELECT */ DELETE FROM sales
-- SELECT 1{newline}DELETE FROM sales
EXPLAIN SELECT 1; DROP TABLE sales
WITH gone AS (DELETE FROM sales RETURNING *) SELECT * FROM gone
WITH one AS (SELECT 1) DELETE FROM sales
WITH one AS (SELECT 1) INSERT INTO sales SELECT 'x', 1, 1 FROM one
WITH one AS (SELECT 1) UPDATE sales SET euros = 1
REPLACE INTO sales VALUES ('x', 1, 1)
SELECT * FROM '{secret}'
SELECT load_extension('x')
PRAGMA journal_mode = DELETE
ANALYZE
REINDEX
SELECT * FROM sales FOR UPDATE NOWAIT; DROP TABLE sales
SELECT 1 INTO t
"""

_SQLITE = """
PRAGMA query_only = OFF
PRAGMA user_version = 7
PRAGMA writable_schema = ON
PRAGMA table_info(sales)
PRAGMA database_list
SELECT * FROM pragma_database_list
SELECT * FROM pragma_journal_mode('delete')
SELECT * FROM pragma_user_version(7)
SELECT readfile('{secret}')
SELECT writefile('{folder}/x', 'y')
SELECT edit('x', 'sh')
SELECT fts3_tokenizer('simple', x'41')
ATTACH 'file:{folder}/other.db?mode=rwc' AS other
INSERT OR REPLACE INTO sales VALUES ('x', 1, 1)
INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, '')
CREATE VIRTUAL TABLE t USING fts5(x)
CREATE VIRTUAL TABLE temp.t USING csv(filename='{secret}')
CREATE TRIGGER t AFTER INSERT ON sales BEGIN DELETE FROM sales; END
SAVEPOINT s
RELEASE s
BEGIN IMMEDIATE
SELECT zeroblob(1000000000)
SELECT replace(hex(zeroblob(4000000)), '0', 'xxxxxxxxxx')
SELECT printf('%.*c', 900000000, 'x')
"""

_DUCKDB = """
SET enable_external_access = true
SET lock_configuration = false
SET python_enable_replacements = true
SET temp_directory = '{folder}'
SET home_directory = '{folder}'
RESET lock_configuration
PRAGMA enable_profiling
PRAGMA database_list
COPY sales TO '{folder}/x.csv'
COPY (SELECT * FROM sales) TO '{folder}/x.parquet' (FORMAT parquet)
COPY sales FROM '{secret}'
EXPORT DATABASE '{folder}/export'
IMPORT DATABASE '{folder}/export'
EXPLAIN ANALYZE DELETE FROM sales
EXPLAIN ANALYZE COPY sales TO '{folder}/x.csv'
EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1
SELECT * FROM read_text('{secret}')
SELECT * FROM read_blob('{secret}')
SELECT * FROM read_csv('{secret}')
SELECT * FROM read_csv('{folder}/*', union_by_name := true)
SELECT * FROM read_csv('/proc/self/environ')
SELECT * FROM read_text('/proc/self/environ')
SELECT * FROM read_json('{secret}')
SELECT * FROM read_parquet('{secret}')
SELECT * FROM parquet_metadata('{secret}')
SELECT * FROM sniff_csv('{secret}')
SELECT * FROM glob('{folder}/*')
SELECT * FROM glob('/etc/*')
SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')
SELECT * FROM 'https://example.com/x.parquet'
SELECT * FROM read_text('.tmp/x')
SELECT * FROM query('DELETE FROM sales')
SELECT * FROM query('COPY sales TO ''{folder}/x.csv''')
SELECT * FROM enable_logging(storage := 'file', storage_path := '{folder}/log')
SELECT * FROM enable_profiling(format := 'json', save_location := '{folder}/x.json')
SELECT * FROM force_checkpoint()
SELECT * FROM python_scan_all_frames
SELECT * FROM read_duckdb('{folder}/x.db')
SELECT * FROM sqlite_scan('{folder}/x.db', 't')
SELECT * FROM duckdb_secrets()
SELECT getenv('HOME')
INSTALL httpfs
LOAD httpfs
CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')
CREATE MACRO m(x) AS x + 1
CREATE SEQUENCE s
CREATE TYPE e AS ENUM ('x')
CREATE SCHEMA s
CALL enable_logging()
CALL pragma_version()
PREPARE p AS DELETE FROM sales
EXECUTE p
CHECKPOINT
FORCE CHECKPOINT
SET VARIABLE x = 1
USE temp
BEGIN TRANSACTION READ WRITE
TRUNCATE sales
MERGE INTO sales USING sales AS s ON true WHEN MATCHED THEN DELETE
PIVOT sales ON place USING sum(euros)
COMMENT ON TABLE sales IS 'x'
DROP SCHEMA main CASCADE
"""

SQLITE = [*_BOTH.strip().splitlines(), *_SQLITE.strip().splitlines()]
DUCKDB = [*_BOTH.strip().splitlines(), *_DUCKDB.strip().splitlines()]
