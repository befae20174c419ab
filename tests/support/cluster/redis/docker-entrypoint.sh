#!/bin/sh
# `-...` and `*.conf` are meant for redis-server, as with the official image.
set -eu
case "${1:-}" in
  -* | *.conf) set -- redis-server "$@" ;;
esac
exec "$@"
