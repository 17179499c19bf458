# The R side of an endpoint: loads one file of a bundle, then runs one of its functions whenever it
# is asked to, over a loopback connection in R's own serialization. Base R only, from 3.6 on.
#
# Everything is in one function, so that the code of the bundle has the global environment to
# itself. What that code prints, warns or raises goes to the log; what it returns is the answer.
(function() {
  setting <- function(name) {
    value <- Sys.getenv(name)
    Sys.unsetenv(name)
    value
  }
  port <- as.integer(setting("SWITCHYARD_PORT"))
  token <- setting("SWITCHYARD_TOKEN")
  file <- setting("SWITCHYARD_FILE")
  name <- setting("SWITCHYARD_FUNCTION")
  bytes_max <- as.numeric(setting("SWITCHYARD_ANSWER_BYTES"))

  # Warnings that are kept for the prompt would never be seen: there is no prompt.
  options(warn = 1, keep.source = FALSE)

  arguments <- list(
    host = "127.0.0.1", port = port, open = "r+b", blocking = TRUE, timeout = 31536000L
  )
  # Without it every answer waits for the other side to acknowledge the one before.
  if ("options" %in% names(formals(socketConnection))) arguments$options <- "no-delay"
  connection <- do.call(socketConnection, arguments)
  writeBin(charToRaw(paste0(token, "\n")), connection)

  leave <- function() quit(save = "no", status = 0, runLast = FALSE)

  # Interrupts that came after the call they were meant for are not to hit the next one.
  forget_interrupts <- function() {
    tryCatch(allowInterrupts(Sys.sleep(0)), interrupt = function(condition) NULL)
  }

  read_bytes <- function(size) {
    chunks <- list()
    while (size > 0) {
      chunk <- readBin(connection, "raw", size)
      if (length(chunk) == 0L) leave()
      chunks[[length(chunks) + 1L]] <- chunk
      size <- size - length(chunk)
    }
    if (length(chunks) == 1L) chunks[[1L]] else do.call(c, chunks)
  }

  receive <- function() {
    head <- NULL
    # Reading a socket lets interrupts in even where they are suspended.
    while (is.null(head)) {
      head <- tryCatch(read_bytes(4L), interrupt = function(condition) NULL)
    }
    size <- readBin(head, "integer", 1L, endian = "big")
    tryCatch(unserialize(read_bytes(size)), interrupt = function(condition) leave())
  }

  # Environments are not followed: they may hold everything that the code has ever seen.
  packed <- function(reply) {
    serialize(reply, NULL, xdr = TRUE, version = 2L, refhook = function(reference) "")
  }

  send <- function(bytes) {
    forget_interrupts()
    frame <- c(writeBin(length(bytes), raw(), endian = "big"), bytes)
    # Half a frame makes the connection useless, so an interrupt in its middle ends the process.
    tryCatch(writeBin(frame, connection), interrupt = function(condition) leave())
  }

  text <- function(condition) {
    message <- tryCatch(conditionMessage(condition), error = function(nested) "")
    paste(enc2utf8(as.character(message)), collapse = "\n")
  }

  one_line <- function(call) substr(deparse(call, nlines = 1L)[1L], 1L, 200L)

  # Where the error came from, for the log: the innermost calls, without those of this file.
  log_error <- function(condition, outer) {
    calls <- sys.calls()
    calls <- calls[seq_along(calls) > outer]
    kept <- utils_head(rev(calls), 22L)
    call <- conditionCall(condition)
    where <- if (is.null(call)) "" else paste0(" in ", one_line(call))
    lines <- vapply(kept, one_line, "")
    lines <- lines[!grepl("^(\\.handleSimpleError|h\\(simpleError|stop\\()", lines)]
    cat("Error", where, ": ", text(condition), "\n", file = stderr(), sep = "")
    if (length(lines) > 0L) cat(paste0("  at ", lines), file = stderr(), sep = "\n")
    if (length(lines) > 0L) cat("\n", file = stderr())
  }
  utils_head <- function(values, size) values[seq_len(min(length(values), size))]

  refusal <- function(message) {
    structure(class = c("switchyard_refusal", "condition"), list(message = message, call = NULL))
  }

  data_types <- c(
    "NULL", "logical", "integer", "double", "character", "raw", "list", "pairlist"
  )
  kinds <- c(
    closure = "a function", builtin = "a function", special = "a function",
    environment = "an environment", language = "a call", symbol = "a symbol",
    complex = "complex", S4 = "an S4 object", expression = "an expression",
    externalptr = "an external pointer"
  )

  step <- function(value, index) {
    label <- names(value)[index]
    if (is.null(label) || is.na(label) || label == "") paste0("[[", index, "]]")
    else paste0("$", label)
  }

  # The answer with POSIXlt made POSIXct; refuses what is no data, naming where it is.
  plain <- function(value, where) {
    type <- typeof(value)
    if (!(type %in% data_types)) {
      kind <- if (type %in% names(kinds)) kinds[[type]] else type
      stop(refusal(paste0(where, " is ", kind)))
    }
    if (type == "pairlist") value <- as.list(value)
    if (typeof(value) != "list") return(value)
    if (inherits(value, "POSIXlt")) return(as.POSIXct(value))
    # Methods of the code's own classes must not decide what is looked at.
    classes <- oldClass(value)
    value <- unclass(value)
    types <- vapply(value, typeof, "")
    for (index in which(!(types %in% data_types) | types %in% c("list", "pairlist"))) {
      value[[index]] <- plain(value[[index]], paste0(where, step(value, index)))
    }
    if (!is.null(classes)) oldClass(value) <- classes
    value
  }

  # Set once the file is loaded.
  target <- NULL
  accepted <- NULL
  required <- NULL
  takes_any <- FALSE

  inspect <- function() {
    signature <- formals(args(target))
    accepted <<- setdiff(names(signature), "...")
    takes_any <<- "..." %in% names(signature) || is.null(args(target))
    is_required <- vapply(signature[accepted], function(default) {
      is.symbol(default) && !nzchar(as.character(default))
    }, TRUE)
    required <<- accepted[is_required]
  }

  quoted <- function(names) paste0("\"", names, "\"", collapse = ", ")

  # What is wrong with the names of the arguments, or NULL.
  misfit <- function(given) {
    unknown <- if (takes_any) character() else setdiff(given, accepted)
    missed <- setdiff(required, given)
    parts <- c(
      if (length(unknown) > 0L) paste0("unknown: ", quoted(unknown)),
      if (length(missed) > 0L) paste0("missing: ", quoted(missed)),
      if (length(unknown) > 0L) {
        paste("the function takes", if (length(accepted) > 0L) quoted(accepted) else "none")
      }
    )
    if (length(parts) > 0L) paste(parts, collapse = "; ")
  }

  # Arguments are passed as symbols, so that calls in messages stay short whatever the data.
  invoke <- function(values) {
    frame <- list2env(values, parent = globalenv())
    symbols <- lapply(names(values), as.name)
    names(symbols) <- names(values)
    call <- as.call(c(list(as.name(name)), symbols))
    value <- allowInterrupts(eval(call, frame))
    plain(value, "the answer")
  }

  run <- function(values) {
    if (is.null(names(values))) names(values) <- character(length(values))
    problem <- misfit(names(values))
    if (!is.null(problem)) return(list("arguments", problem))
    outer <- sys.nframe() + 8L
    tryCatch(
      withCallingHandlers(
        list("value", invoke(values)),
        error = function(condition) log_error(condition, outer)
      ),
      switchyard_refusal = function(condition) list("invalid", condition$message),
      error = function(condition) list("raised", text(condition))
    )
  }

  answer <- function(request) {
    id <- request[[1L]]
    forget_interrupts()
    rows <- tryCatch(lapply(request[[2L]], run), interrupt = function(condition) NULL)
    if (is.null(rows)) return(packed(list(id, "interrupted")))
    bytes <- packed(list(id, "rows", rows))
    if (length(bytes) <= bytes_max) return(bytes)
    size <- format(length(bytes), scientific = FALSE)
    limit <- format(bytes_max, scientific = FALSE)
    problem <- paste0("the answer has ", size, " bytes, at most ", limit, " are allowed")
    packed(list(id, "rows", rep(list(list("invalid", problem)), length(rows))))
  }

  # Code that was written for Dataiku's API node asks so for the folders of its bundle.
  folder <- getwd()
  attach(
    list(dkuAPINodeGetResourceFolders = function() folder),
    name = "switchyard", warn.conflicts = FALSE
  )

  refused <- tryCatch(
    {
      source(file, local = globalenv(), encoding = "UTF-8", keep.source = FALSE)
      target <- get0(name, envir = globalenv(), mode = "function", inherits = FALSE)
      if (is.null(target)) paste0(file, " defines no function \"", name, "\"")
    },
    error = function(condition) {
      call <- conditionCall(condition)
      where <- if (is.null(call)) "" else paste0(" in ", one_line(call))
      paste0(file, ": Error", where, ": ", text(condition))
    }
  )

  suspendInterrupts({
    if (!is.null(refused)) {
      send(packed(list("refused", refused)))
      leave()
    }
    inspect()
    send(packed(list("ready", paste(R.version$major, R.version$minor, sep = "."))))
    repeat send(answer(receive()))
  })
})()
