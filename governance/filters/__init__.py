"""One concern around one call, one filter a file; `governance.sidecar` puts them in their fixed order."""
