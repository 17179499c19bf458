# Prints the functions of an R file as JSON, without running any of it. Base R only, from 3.6 on.
local({
  path <- commandArgs(trailingOnly = TRUE)[1L]
  options(keep.source = FALSE)

  fail <- function(condition) {
    text <- conditionMessage(condition)
    # R names the file as it was given; whoever reads this knows which one it is.
    text <- gsub(path, "", text, fixed = TRUE)
    message(sub("^:", "line ", strsplit(text, "\n", fixed = TRUE)[[1L]][1L]))
    quit(save = "no", status = 1, runLast = FALSE)
  }
  parsed <- tryCatch(parse(path, encoding = "UTF-8"), error = fail)

  # ASCII only, so that the locale of this process does not matter.
  unit <- function(code) sprintf("\\u%04x", code)
  escaped <- function(code) {
    if (code == 34L || code == 92L) return(paste0("\\", intToUtf8(code)))
    if (code >= 32L && code < 127L) return(intToUtf8(code))
    if (code < 65536L) return(unit(code))
    rest <- code - 65536L
    paste0(unit(55296L + rest %/% 1024L), unit(56320L + rest %% 1024L))
  }
  quoted <- function(text) {
    codes <- utf8ToInt(enc2utf8(text))
    paste0("\"", paste(vapply(codes, escaped, ""), collapse = ""), "\"")
  }

  # What JSON can say of a default; NULL: it cannot.
  literal <- function(value) {
    negative <- is.call(value) && length(value) == 2L && identical(value[[1L]], as.name("-"))
    if (negative && is.numeric(value[[2L]])) value <- -value[[2L]]
    if (is.null(value)) return("null")
    if (length(value) != 1L || is.call(value) || is.name(value) || anyNA(value)) return(NULL)
    if (is.character(value)) return(quoted(value))
    if (is.logical(value)) return(if (value) "true" else "false")
    if (is.numeric(value) && is.finite(value)) return(sprintf("%.15g", value))
    NULL
  }

  argument <- function(formals, i) {
    name <- names(formals)[i]
    has_default <- !(is.name(formals[[i]]) && !nzchar(as.character(formals[[i]])))
    told <- paste0("{\"name\":", quoted(name), ",\"optional\":", if (has_default) "true" else "false")
    value <- if (has_default) literal(formals[[i]])
    paste0(told, if (!is.null(value)) paste0(",\"value\":", value), "}")
  }

  described <- function(name, definition) {
    formals <- as.list(definition[[2L]])
    taken <- seq_along(formals)[names(formals) != "..."]
    arguments <- vapply(taken, function(i) argument(formals, i), "")
    open <- "..." %in% names(formals)
    paste0(
      "{\"name\":", quoted(name), ",\"arguments\":[", paste(arguments, collapse = ","),
      "],\"open\":", if (open) "true" else "false", "}"
    )
  }

  is_assignment <- function(one) {
    is.call(one) && length(one) == 3L && is.name(one[[1L]]) &&
      as.character(one[[1L]]) %in% c("<-", "=", "<<-") &&
      (is.name(one[[2L]]) || is.character(one[[2L]])) &&
      is.call(one[[3L]]) && identical(one[[3L]][[1L]], as.name("function"))
  }
  found <- Filter(is_assignment, as.list(parsed))
  texts <- vapply(found, function(one) described(as.character(one[[2L]]), one[[3L]]), "")
  text <- paste0("{\"functions\":[", paste(texts, collapse = ","), "],\"classes\":[]}")
  cat(text)
})
