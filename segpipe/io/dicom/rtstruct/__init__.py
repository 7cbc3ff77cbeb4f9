"""Structure sets: contours from masks and masks from contours."""
