-- 1. What became of each source's documents
SELECT source, kept, step, rule, count(*) AS documents, sum(text_bytes) AS bytes
FROM 'ledger/dispositions/*.parquet'
GROUP BY ALL ORDER BY source, documents DESC;

-- 2. The three laws, per source
SELECT source,
       count(*) = count(*) FILTER (kept) + count(*) FILTER (NOT kept) AS documents_hold,
       sum(text_bytes) + sum(inserted_bytes)
         = sum(kept_bytes) + coalesce(sum(text_bytes) FILTER (NOT kept), 0) + sum(removed_bytes)
         AS bytes_hold
FROM 'ledger/dispositions/*.parquet'
GROUP BY source ORDER BY source;

-- 3. Why records could not be read
SELECT source, reason, count(*) AS records, any_value(uri) AS example
FROM 'ledger/unreadable/*.parquet'
GROUP BY ALL ORDER BY records DESC;

-- 4. Tokens by source, language and split
SELECT source, language, split, count(*) AS documents, sum(tokens) AS tokens
FROM 'index/*.parquet'
GROUP BY ALL ORDER BY tokens DESC LIMIT 20;

-- 5. What if the threshold on duplicated lines were 0.2? Documents kept now that would go
SELECT l.source, count(*) AS documents, sum(l.text_bytes) AS bytes
FROM 'ledger/dispositions/*.parquet' l
POSITIONAL JOIN 'signals/scan/*.parquet' s
WHERE l.kept AND s."gopher.dup_line_frac" > 0.2
GROUP BY l.source ORDER BY documents DESC;

-- 6. The largest near-duplicate clusters
SELECT hex(cluster) AS cluster, count(*) AS documents, count(*) FILTER (kept) AS kept
FROM 'ledger/dispositions/*.parquet'
WHERE cluster IS NOT NULL
GROUP BY cluster ORDER BY documents DESC LIMIT 20;

-- 7. Near duplicates just over the threshold, with both addresses
SELECT d.uri AS dropped, k.uri AS survivor, l.value AS jaccard
FROM 'ledger/dispositions/*.parquet' l
JOIN 'documents/*.parquet' d USING (doc_id)
JOIN 'documents/*.parquet' k ON k.doc_id = l.survivor
WHERE l.rule = 'near'
ORDER BY l.value LIMIT 20;

-- 8. Documents that one rule alone keeps out, by how far they miss
SELECT source, rule, value, threshold, abs(value - threshold) AS distance
FROM 'ledger/dispositions/*.parquet'
WHERE step = 'decide' AND threshold IS NOT NULL
ORDER BY distance LIMIT 20;

-- 9. Bytes that cleaning took out of kept documents
SELECT rule, count(DISTINCT doc_id) AS documents, count(*) AS spans, sum(length) AS bytes
FROM 'ledger/spans/*.parquet'
GROUP BY rule;

-- 10. Files of the run by kind
SELECT kind, count(*) AS files, sum(bytes) AS bytes, sum(rows) AS rows, sum(tokens) AS tokens
FROM 'manifest.parquet'
GROUP BY kind ORDER BY bytes DESC;
