# The day on which a parcel arrives: weekends do not count. Arguments are the keys of the request's
# body; a named list becomes a JSON object.
arrival <- function(sent, days = 1) {
  day <- as.Date(sent, optional = TRUE)
  if (is.na(day)) stop("sent must be a date such as 2026-11-27")
  # Callers send anything: a loop that waits for the right day would go on for ever after 1e400.
  if (!isTRUE(days <= 366)) stop("days must be a number, at most 366")
  if (days > 0) {
    ahead <- day + seq_len(2 * ceiling(days) + 5)
    day <- ahead[as.POSIXlt(ahead)$wday %in% 1:5][ceiling(days)]
  }
  list(arrives = day, weekday = as.POSIXlt(day)$wday)
}
