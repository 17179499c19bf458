# Read once, when the process starts; the bundle's files are in the working folder.
model <- readRDS("hours.rds")

# Features are named arguments; what else the list holds is answered beside the prediction.
hours <- function(km, kg, carrier) {
  row <- data.frame(km = km, kg = kg, carrier = carrier)
  list(prediction = unname(predict(model, row)), carrier = carrier)
}
