"""Reports of ShardCTS: from results.json to one HTML page, a Markdown summary and JUnit XML."""
