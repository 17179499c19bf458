# The day on which a parcel arrives: weekends do not count. Arguments are the keys of the request's
# body; a named list becomes a JSON object.
arrival <- function(sent, days = 1) {
  day <- as.Date(sent, optional = TRUE)
  if (is.na(day)) stop("sent must be a date such as 2026-11-27")
  while (days > 0) {
    day <- day + 1
    if (as.POSIXlt(day)$wday %in% 1:5) days <- days - 1
  }
  list(arrives = day, weekday = as.POSIXlt(day)$wday)
}
