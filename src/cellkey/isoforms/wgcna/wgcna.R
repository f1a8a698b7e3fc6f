# Modules of features by R's WGCNA. Arguments: features.csv (features x samples), settings.csv (one row), output folder.
arguments <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(WGCNA))
values <- t(as.matrix(read.csv(arguments[1], header = FALSE)))
settings <- read.csv(arguments[2], stringsAsFactors = FALSE)
folder <- arguments[3]
write_plain <- function(x, name) write.csv(x, file.path(folder, name), row.names = FALSE)

type <- settings$network_type
powers <- as.integer(strsplit(as.character(settings$powers), ";", fixed = TRUE)[[1]])
fits <- pickSoftThreshold(values, powerVector = powers, networkType = type, verbose = 0)$fitIndices
write_plain(fits, "fits.csv")
criterion <- -sign(fits[, 3]) * fits[, 2]
enough <- which(criterion >= settings$min_r2)
advised <- which(fits[, 1] == settings$fallback)
power <- fits[c(enough, advised, which.max(criterion))[1], 1]

dissimilarity <- 1 - TOMsimilarity(adjacency(values, type = type, power = power), TOMType = "unsigned", verbose = 0)
tree <- hclust(as.dist(dissimilarity), method = "average")
height <- if (is.na(settings$cut_height)) NULL else settings$cut_height
labels <- cutreeDynamic(
  tree, distM = dissimilarity, cutHeight = height, minClusterSize = settings$min_size,
  deepSplit = settings$deep_split, pamStage = settings$pam_stage == 1,
  pamRespectsDendro = settings$respect_tree == 1, verbose = 0
)
if (max(labels) > 1) {
  labels <- mergeCloseModules(values, labels, cutHeight = settings$merge_height, verbose = 0)$colors
}
write_plain(data.frame(label = as.integer(labels)), "labels.csv")
