# isoforms_wgcna.R FEATURES.csv: modules by R's WGCNA in one block; the clock starts after reading.
suppressPackageStartupMessages(library(WGCNA))
values <- t(as.matrix(read.csv(commandArgs(trailingOnly = TRUE)[1], header = FALSE)))
colnames(values) <- paste0("F", seq_len(ncol(values)))
begun <- proc.time()
sink("/dev/null")
fit <- pickSoftThreshold(values, networkType = "signed", verbose = 0)
power <- if (is.na(fit$powerEstimate)) 12 else fit$powerEstimate
found <- blockwiseModules(values, power = power, networkType = "signed", maxBlockSize = ncol(values) + 1, verbose = 0)
sink()
took <- proc.time() - begun
cat(sprintf(
  '{"work_wall": %.3f, "work_cpu": %.3f, "modules": %d}\n',
  took[["elapsed"]], took[["user.self"]] + took[["sys.self"]], length(unique(found$colors))
))
